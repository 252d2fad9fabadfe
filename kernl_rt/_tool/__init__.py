"""What stands behind :func:`kernl_rt.tool.tool`: reading signatures and arguments, writing results, threads."""
