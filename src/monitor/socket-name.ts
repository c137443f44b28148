/** The monitor's socket in its state folder: apart, for those that only look whether there is one. */
export const SOCKET_NAME = 'monitor.sock';
