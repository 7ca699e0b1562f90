"""The JSON API for programs, with tokens: the data and the actions of the pages."""
