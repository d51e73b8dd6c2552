"""What every package shares: errors, contracts, checks, randomness and statistics. Imports nothing of ours."""
