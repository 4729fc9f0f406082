/** Read when no other config file is named. Stands alone, so that `--help` loads no parser. */
export const DEFAULT_CONFIG_FILE = "/etc/ibackup/config.toml";
