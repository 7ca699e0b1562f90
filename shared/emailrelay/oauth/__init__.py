"""Sign-in with OAuth2: tokens are fetched, stored, renewed and shared between processes."""
