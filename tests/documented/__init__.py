"""Runs the documentation: what a page shows is what happens.

A block is run by its language, see `blocks`; the blocks of a page share one namespace, see `page`.
"""
