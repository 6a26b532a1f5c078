"""Log records as messages: see `gzmqhelper.log.handlers`."""
