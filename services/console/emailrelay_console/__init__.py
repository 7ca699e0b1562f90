"""Shows the queue, the routes and the story of each message in a browser."""
