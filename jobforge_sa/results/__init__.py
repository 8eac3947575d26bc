"""Results: wait for a job to end, and get what its handler returned, with its type."""
