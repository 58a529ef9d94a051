"""What makes the library a book: parameters, ledger, provenance, figures, command line."""
