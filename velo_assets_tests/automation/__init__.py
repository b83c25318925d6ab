"""Tests of planning, running, schedules and sensors."""
