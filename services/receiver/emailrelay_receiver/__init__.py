"""Takes mail in over SMTP and makes it durable."""
