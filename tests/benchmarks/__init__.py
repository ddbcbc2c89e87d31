"""Benchmarks: each module runs alone (`python -m tests.benchmarks.NAME`) and prints a small table.

Figures are ratios taken in one run, beside what is aimed at; none of them is a test.
"""
