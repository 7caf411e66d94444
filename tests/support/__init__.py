"""Support that several tests share: synthetic data, clients that check answers, faulty networks."""
