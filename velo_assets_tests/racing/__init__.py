"""Tests of the sport: parsing and rules."""
