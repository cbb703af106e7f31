"""One file a family: it reads a Hugging Face configuration and knows the names of its tensors."""
