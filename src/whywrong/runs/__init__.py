"""The run folder and the engine that fills it: listing, predictions, evidence; resumable and extensible."""
