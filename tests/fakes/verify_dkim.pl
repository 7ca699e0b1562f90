# Verifies the DKIM signatures of standard input with Mail::DKIM. The arguments are pairs: the name of
# a DNS record (with a dot at its end), and the record. Prints the result of each signature.
use strict;
use warnings;
use Mail::DKIM::Verifier;
use Mail::DKIM::PublicKey;

my %records = @ARGV;
{
    no warnings 'redefine';
    *Mail::DKIM::PublicKey::fetch_async = sub {
        my ($class, %asked) = @_;
        my $key = $class->parse($records{"$asked{Selector}._domainkey.$asked{Domain}."});
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
