"""The fine-tuning loop and what it optimises."""
