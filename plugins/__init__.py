"""The built-in plugins. They use nothing but what a third party's package can use."""
