"""Where mail is kept between the processes."""
