/** Where a monitor listens if nothing else is said. Apart, so that asking for it loads nothing. */
export const MONITOR_PORT = 7420;
