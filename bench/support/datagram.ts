/** Bytes of a datagram of the bare round trip: as many as the longest of a get and a release. */
export const datagramBytes = 72

export const maxDatagram = 4096
