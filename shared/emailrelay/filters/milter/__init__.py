"""The MTA's side of the milter protocol, version 6: mail filters of Sendmail and Postfix."""
