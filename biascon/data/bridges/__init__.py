"""Bridges to other libraries: PyTorch, Hugging Face, the layout of WILDS, Croissant."""
