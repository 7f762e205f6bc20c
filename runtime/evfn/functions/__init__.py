"""User functions: finding them, binding their arguments, running one attempt and reading what it returns."""
