"""Runs on a cluster: the same engine, hosted by Temporal, and many machines that work for it.

shelf       what all machines share: files by name, in a directory or an object store
address     which cluster is meant, and how one connects to it
"""
