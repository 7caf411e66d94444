"""The row of an item that the model was not trained on: the fold-in of new users with users and items exchanged."""
