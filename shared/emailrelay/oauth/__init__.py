"""Signing in with OAuth2: tokens fetched, kept, renewed and shared between processes."""
