"""Define the models and their recipes, and collapse trained models to plain arrays."""
