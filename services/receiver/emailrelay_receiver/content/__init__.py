"""The content of a message, from the socket into its draft."""
