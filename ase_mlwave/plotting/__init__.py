"""Every picture, drawn from plain data: whoever has numbers may call it, and it knows no model."""
