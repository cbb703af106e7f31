"""Tools that a model's words can set in motion; what a model wrote runs only inside the sandbox."""
