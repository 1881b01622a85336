"""Tests of imgret_assets."""
