"""Tests of the documentation: each page is run, and its output is compared.

A block is run by its language, see `blocks`; the blocks of a page share one namespace, see `page`.
"""
