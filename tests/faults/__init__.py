"""The fault campaign's parts: copies of the book, what is done to them, and the table of what came out."""
