"""Engines that run cells on clusters."""
