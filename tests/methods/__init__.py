"""Tests of methods: what reaches a loss, what a first stage finds, and what a short training gives."""
