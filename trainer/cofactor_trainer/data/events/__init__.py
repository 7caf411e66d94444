"""Read, weigh and split events of users and items, such as purchases, plays and clicks."""
