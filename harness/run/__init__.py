"""Run cells: claims, workers, engines, the choice of tuned settings, status and estimates."""
