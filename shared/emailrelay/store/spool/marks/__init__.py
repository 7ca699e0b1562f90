"""Small files beside the mail: possible duplicates, the entrance, the limits of routes."""
