
7
agent half"gateway half*3


CItrue#
main
echo of an earlier worker <BcookieXÈb
FROM_WORKERyesjSECRET_OF_WORKER