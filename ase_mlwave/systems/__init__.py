"""What a molecule or a cell is: its atoms, their neighbours, batches of them, and what is refused of them."""
