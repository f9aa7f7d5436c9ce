"""Real servers for the tests: installed by package name, started on free ports, stopped by pid."""
