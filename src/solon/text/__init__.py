"""Layer 1: text to token ids and back. Tokenizers, chat templates, and the packing of rows into fixed lengths."""
