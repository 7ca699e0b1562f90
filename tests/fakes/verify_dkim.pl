# Verifies the DKIM signatures of standard input with Mail::DKIM; the argument is the DNS record of
# the key. Prints the result of each signature.
use strict;
use warnings;
use Mail::DKIM::Verifier;
use Mail::DKIM::PublicKey;

my $record = shift;
{
    no warnings 'redefine';
    *Mail::DKIM::PublicKey::fetch_async = sub {
        my ($class, %asked) = @_;
        my $key = $class->parse($record);
        $asked{Callbacks}->{Success}->($key);
        return sub { $key };
    };
}
my $verifier = Mail::DKIM::Verifier->new();
binmode STDIN;
local $/;
$verifier->PRINT(scalar <STDIN>);
$verifier->CLOSE;
print $_->result_detail, "\n" for $verifier->signatures;
