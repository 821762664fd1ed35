"""Fine-tune whole vision networks from a browser, on the Hugging Face stack."""

__version__ = "0.2.0"
