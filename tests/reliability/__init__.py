"""Campaigns: faults by the hundred, injected into whole commands. ``make reliability`` runs all of them."""
