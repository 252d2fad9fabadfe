"""What the phone channels share. Each of them knows one carrier."""
