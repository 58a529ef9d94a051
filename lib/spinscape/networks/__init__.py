"""What gets trained, and how: data sets, models, ensembles, training."""
