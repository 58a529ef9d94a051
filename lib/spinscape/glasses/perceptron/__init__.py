"""The spherical perceptron of negative margin: theory, solutions drawn at random, and ways between them."""

# Samples.
from spinscape.glasses.perceptron.patterns import Patterns, patterns
from spinscape.glasses.perceptron.sampler import Solutions, sample_solutions
from spinscape.glasses.perceptron.starts import interior_starts

__all__ = ["Patterns", "Solutions", "interior_starts", "patterns", "sample_solutions"]
