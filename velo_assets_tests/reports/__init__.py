"""Tests of pages, pictures and the scoreboard."""
