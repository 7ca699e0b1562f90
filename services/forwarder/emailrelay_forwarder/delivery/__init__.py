"""One message: its attempt over all routes, and the settlement."""
