"""One message: its draft, its claim, its moves between states, and its notices."""
